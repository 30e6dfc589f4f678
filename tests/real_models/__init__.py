"""Pretrained models from their wheels, beside plain transformers. Needs gigabytes of memory and minutes a model."""
