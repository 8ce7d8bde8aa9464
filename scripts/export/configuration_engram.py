"""Configuration of a language model that `engram checkpoint export` wrote."""

from transformers import PretrainedConfig


class EngramConfig(PretrainedConfig):
    """`model` is the section of that name of the training configuration: `engram config explain model`."""

    model_type = "engram"

    def __init__(self, model=None, engram_num_embeddings=(), **kwargs):
        self.model = model or {}
        self.engram_num_embeddings = list(engram_num_embeddings)  # rows of each Engram layer's table
        super().__init__(**kwargs)
