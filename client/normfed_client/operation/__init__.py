"""What runs a hospital's client: joining, checking, node, runner, services, and the commands for them."""
