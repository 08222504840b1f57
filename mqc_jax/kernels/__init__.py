"""Products and attention in the forms that processors are made for; what they compute is plain."""
