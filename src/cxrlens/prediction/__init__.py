"""The one way from a film to a prediction."""

from cxrlens.prediction.predictor import Prediction, Predictor, load

__all__ = ["Prediction", "Predictor", "load"]
