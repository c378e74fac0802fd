"""How good generated images are (FID, KID, precision, recall, Inception score), by features."""

from .feature_classifier import SmallClassifier, train_feature_classifier
from .features import FeatureExtractor
from .inception import load_inception
from .quality import ImageQuality, ImageQualityEvaluation

__all__ = [
    "FeatureExtractor",
    "ImageQuality",
    "ImageQualityEvaluation",
    "SmallClassifier",
    "load_inception",
    "train_feature_classifier",
]
