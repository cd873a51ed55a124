"""The masked autoencoder, and checkpoints of ViT and ViTMAE as weights of its encoder."""
