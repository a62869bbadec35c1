"""What a hospital's client writes down of everything that it did, so that anybody can verify it afterwards."""
