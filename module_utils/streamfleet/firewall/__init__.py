"""What may reach a host from outside: the rules, who listens there, and a change that takes itself back."""
