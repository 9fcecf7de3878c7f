"""A finished model at work: loading it, predicting, evaluating, making it small enough to ship."""
