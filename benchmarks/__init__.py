"""Side-by-side timings and the PyTorch model they compare with."""
