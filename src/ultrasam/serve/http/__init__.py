"""What a server does with a request before and after its routes: who may ask, sizes, time, errors, signals."""
