"""The inference server: a queue before one model, a cache of embeddings, and HTTP that the annotator shares."""
