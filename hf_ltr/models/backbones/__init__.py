"""Networks that timm lacks: CIFAR residual networks, small vision transformers, the encoder of ConvMAE."""
