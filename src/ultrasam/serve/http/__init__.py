"""What a server does with requests before and after its routes: who may ask, sizes, time, errors, signals."""
