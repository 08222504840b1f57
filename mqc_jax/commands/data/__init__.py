"""`mqc data COMMAND`: everything between prices and tokens."""
