"""The one way from a film to a prediction."""

from cxrlens.prediction.predictor import Prediction, Predictor

__all__ = ["Prediction", "Predictor"]
