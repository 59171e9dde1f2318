# SPDX-License-Identifier: BSD-2-Clause
# Completion of sluicectl for bash: commands, their options, and the names the agent knows.

_sluicectl_nodes() {
	sluicectl "$@" backends 2>/dev/null | awk '$1 ~ "/" { print $1; sub(".*/", "", $1); print $1 }'
}

_sluicectl_pools() {
	sluicectl "$@" backends 2>/dev/null | awk '$1 ~ "/" { sub("/.*", "", $1); print $1 }' | sort -u
}

# The words that may stand at the cursor; $1: the command, $2: the word before, then --socket PATH.
_sluicectl_words() {
	local command=$1 before=$2
	shift 2
	case $command:$before in
	*:--pool) _sluicectl_pools "$@" ;;
	*:--nodes) _sluicectl_nodes "$@" ;;
	drain:*) echo --wait --deadline --now --json; _sluicectl_nodes "$@" ;;
	undrain:*) _sluicectl_nodes "$@" ;;
	weight:weight) _sluicectl_nodes "$@" ;;
	weight:*) echo file ;;
	backends:*)
		echo unknown loading warming healthy degraded unhealthy draining maintenance --json
		_sluicectl_pools "$@"
		_sluicectl_nodes "$@"
		;;
	top:--interval | top:--count) ;;
	top:*)
		echo --interval --count --json
		_sluicectl_pools "$@"
		_sluicectl_nodes "$@"
		;;
	drill:*)
		echo --nodes --pool --url --no-probe --min-capacity --deadline --settle --pause \
			--interval --timeout --allow --body --ca-file --dry-run
		;;
	detach:*) echo --pin-dir --json ;;
	help: | help:help) _sluicectl_commands ;;
	status:--timeout) ;;
	status:*) echo --wait --timeout --json ;;
	vips:* | reload:* | check-config:* | diff:*) echo --json ;;
	esac
}

_sluicectl_commands() {
	echo status backends top vips drain undrain weight drill check-config diff reload detach help
}

_sluicectl() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command='' i
	local socket=()

	COMPREPLY=()
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-s | --socket) socket=(--socket "${COMP_WORDS[++i]}") ;;
		-*) ;;
		*) command=${COMP_WORDS[i]}; break ;;
		esac
	done
	case $before in
	-s | --socket | --body | --ca-file) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
	--pin-dir) mapfile -t COMPREPLY < <(compgen -d -- "$word"); return ;;
	esac
	if [ -z "$command" ]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_sluicectl_commands) --socket --json --version \
			--help" -- "$word")
		return
	fi
	mapfile -t COMPREPLY < <(compgen -W "$(_sluicectl_words "$command" "$before" "${socket[@]}")" \
		-- "$word")
	case $before in
	check-config | diff | drill) mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- "$word") ;;
	esac
}

complete -o filenames -F _sluicectl sluicectl
