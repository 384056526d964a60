"""Recurrent PPO with factored, masked actions, and a policy that grows neural networks while they train."""
