"""What Google's original code and brightmart's call things <-> what we call them."""
