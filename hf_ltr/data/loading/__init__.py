"""From rows to batches on the device: decoding, checks of the images, loaders."""
