"""Write a trained model for another runtime, run it there, and check that it still gives the same answers."""
