"""What a config may say: the fields of one subject each, checked and completed."""
