"""Looking into a trained network: pictures of a run, and how they are drawn."""
