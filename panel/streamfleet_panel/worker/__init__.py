"""The converge worker: sees which nodes are behind, and runs converge.yml for each of them.

``queue`` knows the database (which runs are due, who runs, what came of it), ``runner`` knows Ansible (one run for one
node), ``loop`` brings them together. Between runs ``collector`` asks every node what is new on it, by ``ask``. Only the
loop's thread touches the database; runs and questions happen in threads that do not.
"""
