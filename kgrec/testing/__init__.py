"""What tests of kgrec and of its extensions share."""
