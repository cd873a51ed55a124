"""What loading and saving a model need: tensors and fields of other libraries, what a checkpoint lacks, its code."""
