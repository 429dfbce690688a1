"""Region classification: the class of a prompted object."""
