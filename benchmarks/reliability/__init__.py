"""What the service promises about load, stops, crashes and new models, each against a real `bentoml serve`."""
