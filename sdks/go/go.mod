module github.com/k-payments/webhooks-go

go 1.19
