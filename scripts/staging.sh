#!/bin/sh
# A staging fleet from nothing, as a pipeline runs it; docs/ci.md. Each step may be run again.
# Usage: scripts/staging.sh provision|deploy|verify|destroy
#   STREAMFLEET_STAGING_FLEET       name of the fleet of test nodes (staging)
#   STREAMFLEET_STAGING_ENGINES     what verify looks at (icecast nginx_rtmp)
set -eu

cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH
export PATH PYTHONPATH="$PWD/module_utils" ANSIBLE_CONFIG="$PWD/ansible.cfg" ANSIBLE_HOME="$PWD/.ansible"
fleet=${STREAMFLEET_STAGING_FLEET:-staging}
panel=panel.staging.example.net

nodes() {
    command=$1
    shift
    python -m tests.nodes "$command" --fleet "$fleet" "$@"
}

# Names of the fleet resolve for what is run so, and nowhere else on this machine.
inside() { nodes run -- "$@"; }

case "${1:-}" in
provision)
    nodes up --node panel1 --node node1 --node node2 --domain "$panel=panel1" \
        --domain stream1.staging.example.net=node1 --domain stream2.staging.example.net=node2
    ;;
deploy)
    inside ansible-playbook -i inventories/staging/hosts.yml -i ".nodes/$fleet/inventory.yml" playbooks/site.yml
    ;;
verify)
    private=$(mktemp -d)
    trap 'rm -rf "$private"' EXIT
    nodes exec panel1 -- cat /etc/streamfleet/ca/ca.pem >"$private/ca.pem"
    nodes exec panel1 -- streamfleet-panel issue_token --name "verify-$$-$(date +%s)" --scope account --account admin \
        >"$private/token.json"
    STREAMFLEET_URL=https://$panel
    STREAMFLEET_CA=$private/ca.pem
    STREAMFLEET_TOKEN=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["token"])' "$private/token.json")
    export STREAMFLEET_URL STREAMFLEET_CA STREAMFLEET_TOKEN
    for engine in ${STREAMFLEET_STAGING_ENGINES:-icecast nginx_rtmp}; do
        inside ansible-playbook playbooks/verify_engine.yml -e "engine=$engine"
    done
    ;;
destroy)
    nodes down
    ;;
*)
    echo "Usage: scripts/staging.sh provision|deploy|verify|destroy" >&2
    exit 2
    ;;
esac
