"""Batch prediction at scale: jobs cut into shards, on one machine, on Ray, or wherever else they are sent."""
