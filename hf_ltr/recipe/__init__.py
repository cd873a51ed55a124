"""The one option system: dataclasses to YAML and command line, stages, and the report at the end."""
