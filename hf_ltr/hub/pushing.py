"""Whether a push to the Hub can work, asked before anything is trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from ..redaction import remember_secret, without_secrets


@dataclass(frozen=True)
class PushTarget:
    """
    Where a finished run goes on the Hub.

    Args:
        repo_id (`str`): `owner/name`, or a name in the account of the token.
        token (`str`, *optional*): With write permission; that of `hf auth login` or `HF_TOKEN` if not given.
        private (`bool`, *optional*): Of a repository that is made; the account's default if not given.
        revision (`str`, *optional*): Branch; the main one if not given.
    """

    repo_id: str
    token: str | None = field(default=None, repr=False)
    private: bool | None = None
    revision: str | None = None

    def __post_init__(self) -> None:
        remember_secret(self.token)

    @classmethod
    def take(cls, arguments: dict[str, Any], output_dir: str | Path) -> PushTarget | None:
        """
        Take `push_to_hub` and everything that begins with `hub_` out of training arguments.

        Args:
            arguments (`dict`): Changed in place: what is left is about training.
            output_dir (`str` or `Path`): Its name is that of the repository where none is given, as in `Trainer`.

        Returns:
            `PushTarget` or `None`: None where nothing is to be pushed.
        """
        taken = {name: arguments.pop(name) for name in list(arguments) if name.startswith("hub_")}
        remember_secret(taken.get("hub_token"))
        if not arguments.pop("push_to_hub", False):
            return None
        repo_id = taken.get("hub_model_id") or Path(output_dir).resolve().name
        return cls(repo_id, taken.get("hub_token"), taken.get("hub_private_repo"), taken.get("hub_revision"))

    def prepare(self) -> PushTarget:
        """
        Make the repository if it is not there, which only an account that may write to it can do.

        Returns:
            `PushTarget`: with the full name of the repository.

        Raises:
            `ValueError`: saying why nothing could be pushed.
        """
        with push_errors(self.repo_id, self.token):
            made = self._api().create_repo(self.repo_id, exist_ok=True, private=self.private)
        return PushTarget(getattr(made, "repo_id", self.repo_id), self.token, self.private, self.revision)

    def upload(self, folder: str | Path) -> str:
        """
        Upload a finished run: what stands in its folder and its figures, not the stages in sub-folders.

        Args:
            folder (`str` or `Path`): Holds model, card, `metrics.json` and figures.

        Returns:
            `str`: URL of the commit.
        """
        with push_errors(self.repo_id, self.token, f"The finished run is in {folder}; the same command pushes it."):
            uploaded = self._api().upload_folder(
                repo_id=self.repo_id,
                folder_path=str(folder),
                allow_patterns=["*.json", "*.safetensors", "README.md", "figures/*", ".eval_results/*"],
                ignore_patterns=["*/*.json", "*/*.safetensors", "run.json", ".*.tmp"],
                revision=self.revision,
            )
        return str(uploaded)

    def _api(self) -> huggingface_hub.HfApi:
        return huggingface_hub.HfApi(token=self.token)


@contextlib.contextmanager
def push_errors(repo_id: str, token: str | None, closing: str | None = None) -> Iterator[None]:
    """
    Whatever goes wrong with the Hub inside, as one `ValueError` that says what to do and shows no token.

    Args:
        repo_id (`str`): Of the repository.
        token (`str`, *optional*): The one that is used, if it is not that of the machine.
        closing (`str`, *optional*): Last sentence; by default that nothing was trained.
    """
    closing = closing or "Nothing was trained yet; without push_to_hub the run needs no Hub."
    try:
        validate_repo_id(repo_id)
        if not repo_id:
            raise ValueError("the name is empty")
        yield
    except Exception as error:  # of the network, of the Hub, of its names: they have no common type
        raise ValueError(f"Nothing can be pushed to {repo_id!r}: {_reason(error, token)} {closing}") from None


def _reason(error: Exception, token: str | None) -> str:
    if isinstance(error, HFValidationError | ValueError):
        return without_secrets(f"{' '.join(str(error).split())} A repository is called owner/name.")
    if isinstance(error, OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, which forbids every connection to the Hub."
    if token is None and not _logged_in():
        return "nobody is logged in. Run `hf auth login`, set HF_TOKEN, or give hub_token."
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status == 401:
        return "the Hub does not know this token. Make one with write permission and give it as hub_token."
    if status == 403:
        return "this token may not write there. Take a token with write permission, or another owner in hub_model_id."
    first = (str(error).strip().splitlines() or ["no further words"])[0]
    return without_secrets(f"{type(error).__name__}, {first.rstrip('.')}.")


def _logged_in() -> bool:
    try:
        return huggingface_hub.get_token() is not None
    except Exception:  # a trusted publisher whose exchange failed says why by itself, when it is used
        return True
