/** Completion scripts of the shells. They pass on what was typed; what can follow is decided in `complete.ts`. */

/** Words that bash has split at `=` and `:` are put together again, since it replaces only the last part. */
const bash = `# bash completion for network. Use: source <(network completion bash)
_network() {
  local rest=\${COMP_LINE:0:COMP_POINT} current=\${COMP_WORDS[COMP_CWORD]} word line value i
  local words=()
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if ((i == 0)) || [[ $rest == [[:space:]]* || -z $rest ]]; then
      rest=\${rest#"\${rest%%[![:space:]]*}"}
      words+=("")
    fi
    ((i == COMP_CWORD)) && word=$rest current=$rest
    words[\${#words[@]} - 1]+=$word
    rest=\${rest#"$word"}
  done
  [[ $current == [=:] ]] && current=
  local whole=\${words[\${#words[@]} - 1]}
  local before=\${whole%"$current"}
  COMPREPLY=()
  while IFS= read -r line; do
    value=\${line%%$'\\t'*}
    case $value in
      :files) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$current"); return ;;
      :commands) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -c -f -- "$current"); return ;;
    esac
    COMPREPLY+=("\${value#"$before"}")
  done < <(network __complete "\${words[@]:1}" 2>/dev/null)
}
complete -F _network network
`;

const zsh = `#compdef network
# zsh completion for network. Use: source <(network completion zsh), or put it as _network into a folder of $fpath
_network() {
  local line value
  local -a lines found
  lines=("\${(@f)$(network __complete "\${(@Q)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}")
  case \${lines[1]} in
    '') return 1 ;;
    :files) _files; return ;;
    :commands) _alternative 'commands:command:_command_names -e' 'files:file:_files'; return ;;
  esac
  for line in $lines; do
    value=\${line%%$'\\t'*}
    found+=("\${value//:/\\\\:}:\${line#*$'\\t'}")
  done
  _describe network found
}
if [ "\${funcstack[1]}" = "_network" ]; then _network "$@"; else compdef _network network; fi
`;

const fish = `# fish completion for network. Use: network completion fish | source
function __network_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -e words[1]
    set -l lines (network __complete $words "$current" 2>/dev/null)
    switch "$lines[1]"
        case ':files'
            __fish_complete_path "$current"
        case ':commands'
            __fish_complete_path "$current"
            complete -C "$current"
        case '*'
            printf '%s\\n' $lines
    end
end
complete -c network -e
complete -c network -f -a '(__network_complete)'
`;

const SCRIPTS = { bash, zsh, fish };

export type Shell = keyof typeof SCRIPTS;
export const completionScript = (shell: Shell): string => SCRIPTS[shell];
