"""From files to tensors: manifest, splits, the one decoder, the one evaluation preprocessing, the data set."""
