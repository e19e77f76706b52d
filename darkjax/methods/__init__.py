"""How each paper trains a model: init, loss, predict."""
