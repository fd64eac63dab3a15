"""What texts mean: cells, separators and dates, alike in every command and every reader."""
