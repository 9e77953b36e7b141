# Gives each user a key for the nodes at the first login; see ssh_setup.sh.
if ( `id -u` >= 1000 && $?HOME && ! -e "$HOME/.ssh/cluster" ) then
    mkdir -p -m 700 "$HOME/.ssh"
    ssh-keygen -q -t ed25519 -f "$HOME/.ssh/cluster" -N '' -C 'cluster key' < /dev/null
    cat "$HOME/.ssh/cluster.pub" >> "$HOME/.ssh/authorized_keys"
    chmod 600 "$HOME/.ssh/authorized_keys"
    printf 'Host *\n    IdentityFile ~/.ssh/cluster\n    StrictHostKeyChecking accept-new\n' >> "$HOME/.ssh/config"
    chmod 600 "$HOME/.ssh/config"
endif
