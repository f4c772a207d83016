"""What Streamfleet's modules, action plugins and panel share. Importable without Ansible."""
