"""Protocols of other annotation tools, spoken by the annotator's server: Label Studio and MONAI Label."""
