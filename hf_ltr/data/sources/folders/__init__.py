"""Folders of images and of parquet files, in the layouts that people have."""
