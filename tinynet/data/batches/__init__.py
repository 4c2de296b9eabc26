"""From images to the network's input: batches on threads, the account of bad images, measuring, the last step."""
