"""What happens to a batch of images: augmentation, resampling, mixing."""
