"""What other libraries say of their own models' maps, and a judge of what featscope says of them."""
