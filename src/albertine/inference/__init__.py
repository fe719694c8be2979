"""Trained models as fast predictors: one engine for predicting, evaluating, comparing and serving."""
