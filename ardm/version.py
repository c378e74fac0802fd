"""The version of the package, which a saved model's code tells as well."""

__version__ = "0.1.0"
