"""What a role puts on a host besides packages and units, in one call: system users, directories, files, links.

Run on the host by the module streamfleet_host_files, and importable without Ansible.
"""
