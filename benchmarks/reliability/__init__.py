"""Load and fault tests of the service: overload, shutdown, crashes and hot reload, each with a real `bentoml serve`."""
