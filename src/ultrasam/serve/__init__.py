"""The inference server: a queue before a model, a cache of embeddings, and HTTP that the annotator shares."""
