"""Django's backend for MariaDB, with the one answer that differs from the other databases' put right."""
