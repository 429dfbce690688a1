"""Models in int8: calibrated on phantoms, and kept only if they segment as well as in float32."""
