"""What is compared: models, peers and naive baselines."""
